"""Statistics of Markov-chain series: numbers in, estimates with error bars out; knows no physics."""
