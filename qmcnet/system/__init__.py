"""What is simulated: readers of molecules from files and from the objects of other packages."""
