"""What comes over the wire and goes back: camelCase, the specification's words, nothing that is not named.

A field that is not named here is refused on the way in and never leaves on the way out. Percentages are integers
0-100, money is a string of a decimal number, times are ISO 8601 with their zone.
"""
