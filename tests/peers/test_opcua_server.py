"""The foreign OPC UA server of the tests: it starts, and is spoken to by a client that is not ours."""

from pathlib import Path

from asyncua import Client

from tests.peers.opcua_server import PLANT, URI, plant_server


async def test_the_server_answers_tells_its_namespaces_and_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with plant_server(tmp_path) as server:
        for _ in range(2):
            async with Client(server.url) as client:
                assert (await client.get_namespace_array())[1:] == [URI, "http://other.example/things", PLANT]
                assert await client.get_node("ns=3;s=Press1.Count").read_value() == 2**53 + 1
            server.kill()
            server.start()
