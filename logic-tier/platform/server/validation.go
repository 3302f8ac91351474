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
	if undecoded(message) {
		return errUndecodable
	}
	err := s.validator.Validate(message)
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return err
	}
	refused := apperror.New(apperror.Invalid, "FIELDS_INVALID", "")
	for i, v := range broken.Violations {
		field := protovalidate.FieldPathString(v.Proto.GetField())
		refused.Violations = append(refused.Violations, apperror.Violation{Field: field, Description: v.Proto.GetMessage()})
		if i > 0 {
			refused.Message += "; "
		}
		refused.Message += field + ": " + v.Proto.GetMessage()
	}
	return refused
}
