package server

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that this one wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"techtalks.example/logic-tier/platform/apperror"
)

// errUndecodable is returned for a request that is not a valid encoding of its message.
var errUndecodable = apperror.InvalidField("REQUEST_UNDECODABLE", "request", "cannot decode the message: text must be valid UTF-8, and fields must match the contract")

// codec is gRPC's proto codec, except that it does not fail on a malformed request.
// gRPC would return INTERNAL before any interceptor runs. Instead, codec marks the
// message, and validate rejects it with INVALID_ARGUMENT.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// undecodedMark is an unknown varint field with the largest field number, 536870911,
// which no contract uses.
var undecodedMark = protoreflect.RawFields{0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	message, ok := v.(proto.Message)
	if !ok {
		return err
	}
	proto.Reset(message)
	message.ProtoReflect().SetUnknown(undecodedMark)
	return nil
}

func isUndecoded(m proto.Message) bool {
	return string(m.ProtoReflect().GetUnknown()) == string(undecodedMark)
}
