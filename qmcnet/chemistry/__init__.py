"""Mean fields of molecules from PySCF."""
