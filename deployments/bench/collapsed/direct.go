package main

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// direct is a grpc.ClientConnInterface that calls methods as functions and copies top-level fields, the
// minimum cost of a call.
type direct map[string]func(ctx context.Context, decode func(any) error) (any, error)

// RegisterService registers the methods of a service.
func (d direct) RegisterService(service *grpc.ServiceDesc, implementation any) {
	for _, method := range service.Methods {
		d["/"+service.ServiceName+"/"+method.MethodName] = func(ctx context.Context, decode func(any) error) (any, error) {
			return method.Handler(implementation, ctx, decode, nil)
		}
	}
}

// Invoke calls a method.
func (d direct) Invoke(ctx context.Context, method string, request, response any, _ ...grpc.CallOption) error {
	call, ok := d[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "%s is not available", method)
	}
	reply, err := call(ctx, func(dst any) error { return copyFields(request, dst) })
	if err != nil {
		return err
	}
	return copyFields(reply, response)
}

// NewStream always fails: pages do not use streams.
func (direct) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "streams are not available")
}

// copyFields sets the fields of dst to those of src. Nested messages are shared, not copied.
func copyFields(src, dst any) error {
	from, ok := src.(proto.Message)
	to, ok2 := dst.(proto.Message)
	if !ok || !ok2 {
		return errors.New("not a protobuf message")
	}
	fields := to.ProtoReflect()
	from.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		fields.Set(field, value)
		return true
	})
	return nil
}
