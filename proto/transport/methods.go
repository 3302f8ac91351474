package transport

import (
	"iter"

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

// Reads says whether a method changes nothing, as its contract says it.
func Reads(method protoreflect.Descriptor) bool {
	return idempotency(method) == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

// idempotency is what a contract says of calling a method twice.
func idempotency(method protoreflect.Descriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	options, _ := method.Options().(*descriptorpb.MethodOptions)
	return options.GetIdempotencyLevel()
}
