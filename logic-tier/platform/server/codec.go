package server

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that this one wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"techtalks.example/logic-tier/platform/apperror"
)

// errUndecodable: the request's bytes are not the message they should be.
var errUndecodable = apperror.InvalidField("REQUEST_UNDECODABLE", "request", "it does not decode: text must be valid UTF-8, and the fields those of the contract")

// codec decodes like grpc's own, but for a request that does not decode: grpc
// answers INTERNAL before any of our code runs, as if it were our fault. Here
// the message is marked instead, and validate refuses it.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// mark is an unknown field (number 536870911, the largest there is, a varint)
// that no contract has.
var mark = protoreflect.RawFields{0xf8, 0xff, 0xff, 0xff, 0x0f, 0x01}

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
	message.ProtoReflect().SetUnknown(mark)
	return nil
}

func undecoded(m proto.Message) bool {
	return string(m.ProtoReflect().GetUnknown()) == string(mark)
}
