"""Foreign and hostile peers that the drivers are tried against."""
