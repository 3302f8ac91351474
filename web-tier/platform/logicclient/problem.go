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

// Problem is what an error means to a person: a page's status, and what it
// says.
type Problem struct {
	// Status is the HTTP status.
	Status int
	// Reason is the stable reason of ErrorInfo; empty when there is none.
	Reason string
	// Title and Message are for the person.
	Title, Message string
	// Fields says what is wrong with which field of a form, by the field's name
	// in the contract, without index, key or the message it is in.
	Fields map[string]string
	// RetryAfter is when trying again makes sense; 0 when it does not.
	RetryAfter time.Duration
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// meaning is what a gRPC code means over HTTP and to a person.
type meaning struct {
	status         int
	title, message string
}

// meanings is the whole table from gRPC codes (google.rpc.Code) to HTTP. The
// message is said when the logic tier's own is not meant for people.
var meanings = map[codes.Code]meaning{
	codes.OK:                 {http.StatusOK, "", ""},
	codes.Canceled:           {499, "Cancelled", "You left before the answer was there."},
	codes.Unknown:            {http.StatusInternalServerError, "Something went wrong", "It is our fault, not yours. Try again in a while."},
	codes.InvalidArgument:    {http.StatusBadRequest, "That does not work", ""},
	codes.DeadlineExceeded:   {http.StatusGatewayTimeout, "That took too long", "The answer did not come in time. Try again in a moment."},
	codes.NotFound:           {http.StatusNotFound, "Not found", ""},
	codes.AlreadyExists:      {http.StatusConflict, "That is there already", ""},
	codes.PermissionDenied:   {http.StatusForbidden, "You may not do that", ""},
	codes.ResourceExhausted:  {http.StatusTooManyRequests, "Too much at once", ""},
	codes.FailedPrecondition: {http.StatusConflict, "That does not work now", ""},
	codes.Aborted:            {http.StatusConflict, "Somebody was quicker", "Somebody else changed the same thing. Try again."},
	codes.OutOfRange:         {http.StatusBadRequest, "That does not work", ""},
	codes.Unimplemented:      {http.StatusNotImplemented, "Not there yet", "This part of TechTalks cannot do that."},
	codes.Internal:           {http.StatusInternalServerError, "Something went wrong", "It is our fault, not yours. Try again in a while."},
	codes.Unavailable:        {http.StatusServiceUnavailable, "Back in a moment", "A part of TechTalks does not answer just now. Nothing is lost; try again in a moment."},
	codes.DataLoss:           {http.StatusInternalServerError, "Something went wrong", "It is our fault, not yours. Try again in a while."},
	codes.Unauthenticated:    {http.StatusUnauthorized, "Sign in first", ""},
}

// stranger is what UNAUTHENTICATED means when it is this program that is not
// known, or may not call: signing in does not help.
var stranger = meaning{http.StatusInternalServerError, "Something went wrong", "It is our fault, not yours. Try again in a while."}

// busy is what RESOURCE_EXHAUSTED means when it is the server that is at its
// limit and not the person.
var busy = meaning{http.StatusServiceUnavailable, "Very busy just now", "More people are here than we can serve at once. Try again in a moment."}

// noRoom is what RESOURCE_EXHAUSTED means when the site keeps all that it can.
var noRoom = meaning{http.StatusInsufficientStorage, "No room for uploads", ""}

// fallback is said for codes without a message above when no rule said one.
var fallback = map[codes.Code]string{
	codes.InvalidArgument:    "What was sent could not be taken.",
	codes.NotFound:           "There is nothing at this address.",
	codes.AlreadyExists:      "Something like this is there already.",
	codes.PermissionDenied:   "Only somebody else may do this.",
	codes.ResourceExhausted:  "Wait a moment, then try again.",
	codes.FailedPrecondition: "Something else has to happen first.",
	codes.OutOfRange:         "What was sent could not be taken.",
	codes.Unauthenticated:    "Sign in, then try again.",
}

// defaultRetry is when to try again when the logic tier does not say.
const defaultRetry = 2 * time.Second

// index is a list's index or a map's key in a field's path.
var index = regexp.MustCompile(`\[(\d+|"([^"\\]|\\.)*")\]`)

// Explain says what err means to a person. An error that is a Problem already
// is returned as it is.
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
				field := index.ReplaceAllString(v.Field, "")
				field = field[strings.LastIndexByte(field, '.')+1:]
				if p.Fields[field] == "" {
					p.Fields[field] = v.Description
				}
			}
		}
	}
	m := meanings[s.Code()]
	switch p.Reason {
	case "SERVER_BUSY":
		m = busy
	case "STORAGE_FULL":
		m = noRoom
	case "PROGRAM_UNKNOWN", "PROGRAM_DENIED":
		m = stranger
	case "PAGE_TOKEN_INVALID":
		m.message = "This page of the list is not there any more, or its address was changed."
	case "":
		// Not from a rule of the logic tier but from the machinery on the way,
		// whose words are for logs.
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

// NeedsSession says whether the call was refused for want of a valid session:
// signing in mends it.
func (p *Problem) NeedsSession() bool {
	return p.Status == http.StatusUnauthorized && p.Reason != "WRONG_CREDENTIALS"
}

// OfResource makes a malformed name in a page's address what it is to a person:
// a page that is not there. What else is wrong stays wrong.
func (p *Problem) OfResource() *Problem {
	if p.Status != http.StatusBadRequest || len(p.Fields) == 0 {
		return p
	}
	for field := range p.Fields {
		if field != "name" && field != "parent" && field != "channel" {
			return p
		}
	}
	m := meanings[codes.NotFound]
	return &Problem{Status: m.status, Reason: p.Reason, Title: m.title, Message: fallback[codes.NotFound]}
}

// sentence makes a sentence of an error's message.
func sentence(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(s[size:], ".") + "."
}
