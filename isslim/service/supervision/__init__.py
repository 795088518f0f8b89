"""Several service processes behind one port."""
