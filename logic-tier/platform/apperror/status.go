package apperror

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// domain is the domain of every ErrorInfo, within which reasons are unique.
const domain = "techtalks.example"

// codeOf maps every kind to its gRPC code.
var codeOf = map[Kind]codes.Code{
	Invalid:         codes.InvalidArgument,
	Unauthenticated: codes.Unauthenticated,
	Denied:          codes.PermissionDenied,
	NotFound:        codes.NotFound,
	Exists:          codes.AlreadyExists,
	Conflict:        codes.Aborted,
	Exhausted:       codes.ResourceExhausted,
	Unavailable:     codes.Unavailable,
}

// Status returns f as a gRPC status: the code of its kind, its message, and google.rpc
// details. It does not include the cause.
func (f *Failure) Status() *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: f.Reason, Domain: domain}}
	if len(f.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range f.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
		}
		details = append(details, bad)
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	s := status.New(codeOf[f.Kind], f.Message)
	if detailed, err := s.WithDetails(details...); err == nil {
		return detailed
	}
	return s
}
