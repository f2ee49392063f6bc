"""Finding each other without a master: Kademlia (Maymounkov and Mazières, 2002), hardened. Who holds the hive's secret
announces itself under a topic, at the nodes whose ids are closest to it, and finds there who else did."""
