"""One worker behind gRPC: JSON in, JSON out, one call at a time. Prints its port."""

import json
from concurrent import futures

import grpc
from function import echo


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    return json.dumps(echo(**json.loads(request))).encode()


def stream(requests, context: grpc.ServicerContext):
    for request in requests:
        yield unary(request, context)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
server.add_generic_rpc_handlers(
    [
        grpc.method_handlers_generic_handler(
            "peers.Echo",
            {
                "Unary": grpc.unary_unary_rpc_method_handler(unary),
                "Stream": grpc.stream_stream_rpc_method_handler(stream),
            },
        )
    ]
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
