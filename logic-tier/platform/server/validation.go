package server

import (
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
)

// validate checks a request against the rules in its contract.
func (s *Server) validate(request any) error {
	message, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	if isUndecoded(message) {
		return errUndecodable
	}
	err := s.validator.Validate(message)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	failure := apperror.New(apperror.Invalid, "FIELDS_INVALID", "")
	for i, v := range invalid.Violations {
		field := protovalidate.FieldPathString(v.Proto.GetField())
		failure.Violations = append(failure.Violations, apperror.Violation{Field: field, Description: v.Proto.GetMessage()})
		if i > 0 {
			failure.Message += "; "
		}
		failure.Message += field + ": " + v.Proto.GetMessage()
	}
	return failure
}
