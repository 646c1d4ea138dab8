"""What all commands share: how options are given, and how ranks end together."""
