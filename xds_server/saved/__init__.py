"""What was in force when the last server ended, for the next one.

In: what a reload brought into force. Out: a folder with the contents of files, named by their hash, and an index of those
that count; and from it what a first reload begins with, as if there had been one before. What was changed by anything
else is as good as none: a policy that is missing from what is served opens a door.
"""
