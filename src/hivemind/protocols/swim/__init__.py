"""Who is there: SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard (Dadgar, Phillips, Currey, arXiv 1707.00788).

In each period a node pings one other, going round a shuffled list. No answer in time: some helpers ping for it,
and it pings once more through the channel. Still none: it signs an accusation, `Suspect`. Who is suspected has
time to sign a higher incarnation, and is failed otherwise. What is new rides on pings and their answers, and on
some gossip; now and then two nodes compare all they know.

What is different from the papers, because a member may lie:

- Only a node itself signs where it is and its incarnation (`Alive`, `Leaving`), so nobody else can raise it.
- An accusation names its accuser. In a hive of more than three, one accuser never makes anybody failed.
- Who hears of an accusation pings the accused itself, out of turn, before it joins in; of a large hive, some do.
- The accused signs the answer that a helper brings, so no helper can make a dead node seem alive.

The outcome is a hint. Work is moved and voters are changed by agreement alone.
"""
