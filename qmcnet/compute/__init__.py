"""torch without physics: what every room above may use of the machine it runs on."""
