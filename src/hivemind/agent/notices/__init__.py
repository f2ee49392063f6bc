"""Telling people: notices that this node is to deliver, by webhook, Slack or e-mail."""
