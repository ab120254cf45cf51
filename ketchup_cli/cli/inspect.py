"""Commands that look at what is on disk and at what can be set; they change nothing."""

COMMANDS = ()
CONFIG_COMMANDS = ()
