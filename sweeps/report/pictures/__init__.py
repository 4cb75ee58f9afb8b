"""Pictures of a sweep, for the screen and for print."""
