"""Real servers for tests, each a context manager on free ports that ends only what it started.

Every server object has ``env``: the variables with which lakeray finds it. None of them needs pytest.
"""

from tests.servers.azurite import AzureServer, start_azurite
from tests.servers.processes import ServerMissing
from tests.servers.radosgw import start_radosgw
from tests.servers.redis import OwnRedis, RedisServer, start_redis
from tests.servers.s3 import S3Server, start_moto, start_s3

__all__ = [
    "AzureServer",
    "OwnRedis",
    "RedisServer",
    "S3Server",
    "ServerMissing",
    "start_azurite",
    "start_moto",
    "start_radosgw",
    "start_redis",
    "start_s3",
]
