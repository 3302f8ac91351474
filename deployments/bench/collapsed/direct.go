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

// direct is a "connection" that calls a method's function and hands its fields
// over: the least that a call can cost.
type direct map[string]func(ctx context.Context, decode func(any) error) (any, error)

// RegisterService adds a module's methods.
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
		return status.Errorf(codes.Unimplemented, "%s is not collapsed", method)
	}
	answer, err := call(ctx, func(into any) error { return hand(request, into) })
	if err != nil {
		return err
	}
	return hand(answer, response)
}

// NewStream is not called by a page.
func (direct) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "streams are not collapsed")
}

// hand sets the fields of one message to those of another; what they point to
// is shared, not copied.
func hand(from, to any) error {
	source, ok := from.(proto.Message)
	target, ok2 := to.(proto.Message)
	if !ok || !ok2 {
		return errors.New("not a message")
	}
	into := target.ProtoReflect()
	source.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		into.Set(field, value)
		return true
	})
	return nil
}
