"""Documents of the web that policies refer to, such as what an identity provider says of itself.

In: URLs that compiling has asked for. Out: their documents as a frozen input of the next compilation. `web` asks servers,
`keep` keeps what they said on disk, `loop` decides when to ask. Nothing here reads a policy.
"""
