"""A module of WebAssembly that says in answers that it ran."""

from __future__ import annotations

import base64

# (module
#   (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
#   (memory (export "memory") 1)
#   (data (i32.const 0) "x-wasmyes")
#   (global $top (mut i32) (i32.const 1024))
#   (func (export "proxy_abi_version_0_2_1"))
#   (func (export "malloc") (param i32) (result i32)
#     (global.get $top)
#     (global.set $top (i32.add (global.get $top) (local.get 0))))
#   (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
#     (drop (call $add (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 3)))
#     (i32.const 0)))
MODULE = base64.b64decode(
    "AGFzbQEAAAABGQRgBX9/f39/AX9gAABgAX8Bf2ADf39/AX8CIgEDZW52GnByb3h5X2FkZF9oZWFkZXJfbWFwX3ZhbHVlAAADBAMBAgMFAwEAAQYHAX8B"
    "QYAICwdJBAZtZW1vcnkCABdwcm94eV9hYmlfdmVyc2lvbl8wXzJfMQABBm1hbGxvYwACGXByb3h5X29uX3Jlc3BvbnNlX2hlYWRlcnMAAwoiAwIACwsA"
    "IwAjACAAaiQACxEAQQJBAEEGQQZBAxAAGkEACwsPAQBBAAsJeC13YXNteWVzABUEbmFtZQEGAQADYWRkBwYBAAN0b3A="
)
