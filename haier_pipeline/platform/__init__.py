"""The wire: everything that knows how Haier's dealer open platform is asked and how it answers.

Here live the dealer's configuration (`config`), the pace of the calls (`pacing`), the token
(`token`), the bounded HTTP exchange (`transport`), the retries and one method for each interface
(`client`), many calls at once (`fanout`) and the typed answers (`answers`).

What does not belong here: SQL, Dagster, the reading of environment variables, and any rule about
what a price or a stock means for the catalog.

What is cited as "contract" stands in docs/platform.md, as "fault matrix" or "row" in
docs/faults.md.
"""
