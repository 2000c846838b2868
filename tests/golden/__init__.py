"""Golden records: what commands wrote on fixed inputs, so that a change of output is seen.

`commands.py` lists the commands, `rendering.py` is the one place that knows how a record becomes a
table or a page, `page_text.py` reads a page as its visitor does, `steady.py` takes out what differs
from run to run, and `records/` holds one text file per command and form: `.json`, `.80.txt` and
`.120.txt` (the terminal), `.page.txt` (the text of the page with a digest of each chart), for a few
`.md` and `.csv` (`--format`). The JSON of a command that measures is its input:
`inputs/records/NAME.json`.

    pytest tests/golden                       compare all
    pytest tests/golden -k cost-gpt2          compare one
    python -m tests.golden.record             write all anew; then read `git diff tests/golden`
    python -m tests.golden.record cost-gpt2   write one anew

A difference is a lost or changed figure until a reader of the diff says that it is an improvement.
Only the records that were meant to change are then committed. When the report's functions move or
the page is built in another way, `rendering.py` alone follows.
"""
