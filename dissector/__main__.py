"""python -m dissector"""

from dissector.cli import main

main()
