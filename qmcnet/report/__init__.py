"""Numbers made into files and text for people; knows no run and no stage."""
