"""What is declared: the field's quantities, meter models and the site file. Knows no bytes, sockets or time."""
