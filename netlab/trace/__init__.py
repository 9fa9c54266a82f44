"""What happened to packets: frames seen at many interfaces of a lab, decoded, put into one story, and printed.

`packet` decodes bytes, `story` follows one flow from hop to hop and says what changed in between, `render` prints both;
these three are pure. `observe` captures inside a lab. May not change what it watches.
"""
