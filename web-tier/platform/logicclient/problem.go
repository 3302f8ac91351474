package logicclient

import (
	"cmp"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Problem is an error as a page shows it: an HTTP status and text for the user.
type Problem struct {
	// Status is the HTTP status.
	Status int
	// Reason is the stable reason code of ErrorInfo; empty without one.
	Reason string
	// Title and Message are shown to the user.
	Title, Message string
	// Fields maps invalid form fields to what is wrong with them. The key is the field's
	// name in the contract, without index, map key or enclosing message.
	Fields map[string]string
	// RetryAfter is when to retry; 0 if retrying does not help.
	RetryAfter time.Duration
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// explanation is the HTTP status and text of a gRPC code.
type explanation struct {
	status         int
	title, message string
}

// explanations maps every gRPC code (google.rpc.Code) to HTTP. The message is shown when
// the logic tier's own is not written for users.
var explanations = map[codes.Code]explanation{
	codes.OK:                 {http.StatusOK, "", ""},
	codes.Canceled:           {499, "Cancelled", "You left before the answer arrived."},
	codes.Unknown:            {http.StatusInternalServerError, "Something went wrong", "This is our fault, not yours. Try again in a few minutes."},
	codes.InvalidArgument:    {http.StatusBadRequest, "Invalid request", ""},
	codes.DeadlineExceeded:   {http.StatusGatewayTimeout, "That took too long", "The answer did not arrive in time. Try again in a moment."},
	codes.NotFound:           {http.StatusNotFound, "Not found", ""},
	codes.AlreadyExists:      {http.StatusConflict, "Already exists", ""},
	codes.PermissionDenied:   {http.StatusForbidden, "You can't do that", ""},
	codes.ResourceExhausted:  {http.StatusTooManyRequests, "Too many requests", ""},
	codes.FailedPrecondition: {http.StatusConflict, "Not possible right now", ""},
	codes.Aborted:            {http.StatusConflict, "Changed in the meantime", "Someone else changed this at the same time. Try again."},
	codes.OutOfRange:         {http.StatusBadRequest, "Invalid request", ""},
	codes.Unimplemented:      {http.StatusNotImplemented, "Not supported", "TechTalks does not support this."},
	codes.Internal:           {http.StatusInternalServerError, "Something went wrong", "This is our fault, not yours. Try again in a few minutes."},
	codes.Unavailable:        {http.StatusServiceUnavailable, "Back in a moment", "Part of TechTalks is not responding right now. Nothing is lost; try again in a moment."},
	codes.DataLoss:           {http.StatusInternalServerError, "Something went wrong", "This is our fault, not yours. Try again in a few minutes."},
	codes.Unauthenticated:    {http.StatusUnauthorized, "Sign in first", ""},
}

// callerRejected explains UNAUTHENTICATED when the logic tier rejects this program and not
// the user: signing in does not help.
var callerRejected = explanation{http.StatusInternalServerError, "Something went wrong", "This is our fault, not yours. Try again in a few minutes."}

// serverBusy explains RESOURCE_EXHAUSTED when the server is at its limit and not the user.
var serverBusy = explanation{http.StatusServiceUnavailable, "Very busy just now", "TechTalks is getting more requests than it can serve. Try again in a moment."}

// storageFull explains RESOURCE_EXHAUSTED when the site's storage is full.
var storageFull = explanation{http.StatusInsufficientStorage, "Storage is full", ""}

// invalidPageToken explains INVALID_ARGUMENT for a page token.
var invalidPageToken = explanation{http.StatusBadRequest, "This link is no longer valid", "This page of the list has expired, or its address was changed."}

// fallback holds the message of codes without one in explanations, for errors that no
// business rule explains.
var fallback = map[codes.Code]string{
	codes.InvalidArgument:    "The request is not valid.",
	codes.NotFound:           "There is nothing at this address.",
	codes.AlreadyExists:      "Something like this already exists.",
	codes.PermissionDenied:   "Your account is not allowed to do this.",
	codes.ResourceExhausted:  "Wait a moment, then try again.",
	codes.FailedPrecondition: "This can't be done in the current state. Reload the page and try again.",
	codes.OutOfRange:         "The request is not valid.",
	codes.Unauthenticated:    "Sign in, then try again.",
}

// defaultRetry is the RetryAfter of unavailable and slow responses without RetryInfo.
const defaultRetry = 2 * time.Second

// subscript matches a list index or a map key in a field path.
var subscript = regexp.MustCompile(`\[(\d+|"([^"\\]|\\.)*")\]`)

// Explain returns the Problem that err is to the user. If err wraps a Problem, Explain
// returns that Problem.
func Explain(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	s := status.Convert(err)
	if s.Code() == codes.Unknown {
		s = status.FromContextError(err)
	}
	p = &Problem{Fields: map[string]string{}}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			p.Reason = d.Reason
		case *errdetails.RetryInfo:
			p.RetryAfter = d.RetryDelay.AsDuration()
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				field := subscript.ReplaceAllString(v.Field, "")
				field = field[strings.LastIndexByte(field, '.')+1:]
				if p.Fields[field] == "" {
					p.Fields[field] = v.Description
				}
			}
		}
	}
	m := explanations[s.Code()]
	switch p.Reason {
	case "SERVER_BUSY":
		m = serverBusy
	case "STORAGE_FULL":
		m = storageFull
	case "PROGRAM_UNKNOWN", "PROGRAM_DENIED":
		m = callerRejected
	case "PAGE_TOKEN_INVALID":
		m = invalidPageToken
	case "":
		// The error comes from the infrastructure and not from a rule of the logic tier:
		// its message is for logs.
		m.message = cmp.Or(m.message, fallback[s.Code()])
	}
	p.Status, p.Title, p.Message = m.status, m.title, m.message
	if p.Message == "" {
		p.Message = sentence(s.Message())
	}
	if p.RetryAfter == 0 && (p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout) {
		p.RetryAfter = defaultRetry
	}
	return p
}

// NeedsSession reports whether the call was rejected for lack of a valid session, so that
// signing in helps.
func (p *Problem) NeedsSession() bool {
	return p.Status == http.StatusUnauthorized && p.Reason != "WRONG_CREDENTIALS"
}

// InvalidNameAsNotFound returns 404 if the only invalid fields are resource names: to the
// user, a malformed name in a page's address is a page that does not exist. It returns any
// other Problem unchanged.
func (p *Problem) InvalidNameAsNotFound() *Problem {
	if p.Status != http.StatusBadRequest || len(p.Fields) == 0 {
		return p
	}
	for field := range p.Fields {
		if field != "name" && field != "parent" && field != "channel" {
			return p
		}
	}
	m := explanations[codes.NotFound]
	return &Problem{Status: m.status, Reason: p.Reason, Title: m.title, Message: fallback[codes.NotFound]}
}

// sentence returns an error message as a sentence.
func sentence(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(s[size:], ".") + "."
}
