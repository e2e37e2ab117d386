"""One file for each technology that the service stands on."""
