"""The shared store's protocol: signed append-only logs, one for each writer, merged into one sorted view. Pure.

    tree       the Merkle tree over a log: peaks, aligned pieces, and the one fold that proves everything
    entry      what a writer says: bodies, signed heads, acknowledgements
    wire       the messages
    log        the pieces of one log: clearing, slicing, proving, refining
    evidence   a writer that said two things at one place
    order      which entry of a key counts: the causally later one, or else the one with the greater clock and key
    view       the sorted, immutable key-value view with a digest of its contents
    attesting  which part of a log a quorum of voters has, with the same root
    steps      what the machine is told, and what it wants done
    serving    answers out of a kept log
    writer_log what the machine must know of a writer's log
    core       what the parts of the machine share
    own        a node's own log
    exchange   who has what
    intake     parts of others' logs
    delivery   from the logs to the view
    mending    which entries live
    replica    the machine

A log's identity is (writer, fork): a writer that lost its log, or enters another hive, begins a new one under a
higher number, and the highest counts. Two different trees under one number are a lie that proves itself.
"""
