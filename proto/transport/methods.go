package transport

import (
	"iter"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Methods returns the methods of a contract's services.
func Methods(file protoreflect.FileDescriptor) iter.Seq[protoreflect.MethodDescriptor] {
	return func(yield func(protoreflect.MethodDescriptor) bool) {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				if !yield(methods.Get(j)) {
					return
				}
			}
		}
	}
}

// IsReadOnly reports whether a method's contract declares that it has no side effects.
func IsReadOnly(method protoreflect.Descriptor) bool {
	return idempotency(method) == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

// idempotency returns the idempotency level that a method's contract declares.
func idempotency(method protoreflect.Descriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	options, _ := method.Options().(*descriptorpb.MethodOptions)
	return options.GetIdempotencyLevel()
}

// TakesPassword reports whether a method's request carries a password. Such a call hashes the
// password, which takes more CPU time than any other call.
func TakesPassword(method protoreflect.MethodDescriptor) bool {
	fields := method.Input().Fields()
	for i := range fields.Len() {
		if strings.Contains(string(fields.Get(i).Name()), "password") {
			return true
		}
	}
	return false
}
