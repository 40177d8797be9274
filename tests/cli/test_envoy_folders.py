"""Folders on Envoys' machines, as words of the command line."""

from __future__ import annotations

import pytest

from xds_server.cli.envoy_folders import parse_log_folders, parse_module_folders


def test_folders_are_known_once_and_without_a_slash_at_the_end() -> None:
    assert parse_log_folders(["/var/log/envoy/", "/devices", "/devices"]) == ("/var/log/envoy", "/devices")
    assert parse_module_folders(["/usr/lib/envoy/"]) == ("/usr/lib/envoy",)
    assert parse_log_folders(None) == parse_module_folders(None) == ()


@pytest.mark.parametrize("word", ["", "var", "/", "/var/../etc", "/var//log", "//var", "/dev/shm", "/proc/1", "/sys"])
def test_what_is_no_folder_for_logs(word: str) -> None:
    with pytest.raises(ValueError, match="absolute path of a folder"):
        parse_log_folders([word])
    with pytest.raises(ValueError, match="--module-folder"):
        parse_module_folders([word])
