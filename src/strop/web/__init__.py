"""The local page of `strop view`: runs, samples, search trees, papers, tasks, and an arena to vote in.

It listens on the loopback address alone and shows what models wrote, which is hostile text: `guard` has the walls.
"""
