package transport

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewRequestID returns a random UUID (RFC 9562, version 4) that identifies a request across
// retries (AIP-155).
func NewRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// requestIDUnary fills in the request_id of a request if its contract has the field and the
// caller left it empty, so that the call is safe to retry (AIP-4235).
func requestIDUnary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if message, ok := request.(proto.Message); ok {
		m := message.ProtoReflect()
		if id := m.Descriptor().Fields().ByName("request_id"); id != nil && id.Kind() == protoreflect.StringKind && m.Get(id).String() == "" {
			clone := proto.Clone(message)
			clone.ProtoReflect().Set(id, protoreflect.ValueOfString(NewRequestID()))
			request = clone
		}
	}
	return invoke(ctx, method, request, response, connection, options...)
}
