package transport

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewRequestID returns a UUID by chance (RFC 9562, version 4), by which a request that
// is made twice is known to be one (AIP-155).
func NewRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// identified gives a request an id where its contract has a field for one and the caller
// left it empty, so that making the call again is harmless (AIP-4235).
func identified(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if message, ok := request.(proto.Message); ok {
		is := message.ProtoReflect()
		if id := is.Descriptor().Fields().ByName("request_id"); id != nil && id.Kind() == protoreflect.StringKind && is.Get(id).String() == "" {
			own := proto.Clone(message)
			own.ProtoReflect().Set(id, protoreflect.ValueOfString(NewRequestID()))
			request = own
		}
	}
	return invoke(ctx, method, request, response, connection, options...)
}
