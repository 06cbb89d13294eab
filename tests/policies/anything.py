"""A provider that takes whatever it is given: the engine's side of resources, without a cloud."""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc


class Anything(provider_pb2_grpc.ResourceProviderServicer):
    """Nothing is ever made: it serves previews only."""

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="7.0.0")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True)

    def Check(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Create(self, request: Any, context: Any) -> Any:
        assert request.preview
        return provider_pb2.CreateResponse(properties=request.properties)

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
provider_pb2_grpc.add_ResourceProviderServicer_to_server(Anything(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
sys.exit()
