"""The command line: words in, one verb of the registry, the value out.

`main` holds the group and turns errors into sentences and exit codes; the commands stand in rooms by purpose and
are imported when they are typed.
"""
