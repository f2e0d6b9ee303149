"""Images for other platforms than the machine's own, end to end under Node."""
