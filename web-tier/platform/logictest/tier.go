// Package logictest is a stand-in for the logic tier, for tests of pages. It is
// reached over a real gRPC connection in memory, through the web tier's own
// interceptors: deadlines, metadata and the mapping of errors are part of what
// is tested.
package logictest

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accesspb "techtalks.example/proto/techtalks/access/v1"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/platform/logicclient"
)

// The sessions that are valid: Ada's, and that of Olga, an operator. Any other
// that is sent is refused, whatever the method, as the logic tier does.
const (
	Session         = "session-of-ada"
	OperatorSession = "session-of-olga"
)

// Ada is who is signed in with Session, Olga with OperatorSession.
var (
	Ada = &accountspb.Account{
		Name: "accounts/ada", Id: 1, Handle: "ada", DisplayName: "Ada", CreateTime: timestamppb.New(time.Unix(1_700_000_000, 0)),
	}
	Olga = &accountspb.Account{
		Name: "accounts/olga", Id: 2, Handle: "olga", DisplayName: "Olga", CreateTime: timestamppb.New(time.Unix(1_700_000_000, 0)), Operator: true,
	}
)

// Unread and Cursor describe Ada's inbox.
const (
	Unread = 2
	Cursor = "epoch-5"
)

// Call is a call that was made.
type Call struct {
	Method, Session, Address string
	Request                  proto.Message
	// Bounded says that the call had a deadline, Traced that it had a trace.
	Bounded, Traced bool
}

// Tier is the stand-in.
type Tier struct {
	// Logic is how the web tier reaches it.
	Logic *logicclient.Tier

	mu      sync.Mutex
	answers map[string]answer
	streams map[string]func(grpc.ServerStream) error
	calls   []Call
	others  map[string]bool
}

type answer func(ctx context.Context, decode func(any) error) (request, response proto.Message, err error)

// New returns a stand-in that knows who is signed in, and nothing else until it
// is told with Answer. It ends with the test.
func New(t *testing.T) *Tier {
	t.Helper()
	tier := &Tier{answers: map[string]answer{}, streams: map[string]func(grpc.ServerStream) error{}}
	Answer(tier, accountspb.Accounts_GetCurrentAccount_FullMethodName,
		func(ctx context.Context, _ *accountspb.GetCurrentAccountRequest) (*accountspb.GetCurrentAccountResponse, error) {
			if one(ctx, transport.SessionKey) == OperatorSession {
				return &accountspb.GetCurrentAccountResponse{Account: Olga}, nil
			}
			return &accountspb.GetCurrentAccountResponse{Account: Ada}, nil
		})
	Answer(tier, notificationspb.Notifications_GetInbox_FullMethodName,
		func(context.Context, *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
			return &notificationspb.GetInboxResponse{UnreadCount: Unread, Cursor: Cursor}, nil
		})
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnknownServiceHandler(tier.serve))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connected, err := logicclient.Dial("passthrough:///stand-in", insecure.NewCredentials(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connected.Close() })
	tier.Logic = connected
	return tier
}

// Answer says how method is answered from now on.
func Answer[Q, R any, PQ interface {
	*Q
	proto.Message
}, PR interface {
	*R
	proto.Message
}](t *Tier, method string, answer func(context.Context, PQ) (PR, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers[method] = func(ctx context.Context, decode func(any) error) (proto.Message, proto.Message, error) {
		request := PQ(new(Q))
		if err := decode(request); err != nil {
			return nil, nil, err
		}
		response, err := answer(ctx, request)
		return request, response, err
	}
}

// Stream says how a streaming method is served from now on.
func (t *Tier) Stream(method string, serve func(grpc.ServerStream) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[method] = serve
}

// AlsoValid makes other sessions valid: somebody else's.
func AlsoValid(t *Tier, sessions ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others = map[string]bool{}
	for _, session := range sessions {
		t.others[session] = true
	}
}

// Calls returns the calls of a method that were made so far; of all methods
// when it is empty.
func (t *Tier) Calls(method string) []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Call
	for _, c := range t.calls {
		if method == "" || c.Method == method {
			found = append(found, c)
		}
	}
	return found
}

func (t *Tier) serve(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	method, _ := grpc.MethodFromServerStream(stream)
	call := Call{Method: method, Session: one(ctx, transport.SessionKey), Address: one(ctx, transport.ClientAddressKey)}
	_, call.Bounded = ctx.Deadline()
	_, call.Traced = transport.ParseTrace(one(ctx, transport.TraceparentKey))
	stream.SetTrailer(transport.Timing{LogicHost: "logic-host", DataHost: "data-host", Logic: 3 * time.Millisecond, Data: time.Millisecond}.Trailer())
	t.mu.Lock()
	answer, follow := t.answers[method], t.streams[method]
	t.mu.Unlock()

	var response proto.Message
	err := t.admit(call)
	switch {
	case err != nil:
	case follow != nil:
		return follow(stream)
	case answer == nil:
		err = status.Errorf(codes.Unimplemented, "the test does not say how %s is answered", method)
	default:
		call.Request, response, err = answer(ctx, stream.RecvMsg)
	}
	t.mu.Lock()
	t.calls = append(t.calls, call)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return stream.SendMsg(response)
}

// admit says whether a call's session is one that the contract asks for.
func (t *Tier) admit(call Call) error {
	t.mu.Lock()
	known := call.Session == Session || call.Session == OperatorSession || t.others[call.Session]
	t.mu.Unlock()
	asked := asksFor(call.Method)
	switch {
	case call.Session != "" && !known:
		return Refusal(codes.Unauthenticated, "SESSION_INVALID", "the session is not valid any more; sign in again")
	case call.Session == "" && (asked == accesspb.Person_PERSON_SIGNED_IN || asked == accesspb.Person_PERSON_OPERATOR):
		return Refusal(codes.Unauthenticated, "SESSION_REQUIRED", "sign in")
	case call.Session != OperatorSession && asked == accesspb.Person_PERSON_OPERATOR:
		return Refusal(codes.PermissionDenied, "OPERATOR_REQUIRED", "only an operator may do this")
	}
	return nil
}

// asksFor returns which person the contract asks for where it declares the
// method.
func asksFor(method string) accesspb.Person {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return accesspb.Person_PERSON_UNSPECIFIED
	}
	rule, _ := proto.GetExtension(found.Options(), accesspb.E_Rule).(*accesspb.Rule)
	return rule.GetPerson()
}

func one(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}

// Refusal returns a refusal as the logic tier makes it: with ErrorInfo, and a
// violation for each pair of field and description.
func Refusal(code codes.Code, reason, message string, violations ...string) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: "techtalks.example"}}
	if len(violations) > 0 {
		bad := &errdetails.BadRequest{}
		for i := 0; i+1 < len(violations); i += 2 {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: violations[i], Description: violations[i+1]})
		}
		details = append(details, bad)
	}
	return withDetails(code, message, details)
}

// RefusalRetry returns a refusal that says when to try again.
func RefusalRetry(code codes.Code, reason, message string, after time.Duration) error {
	return withDetails(code, message, []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: reason, Domain: "techtalks.example"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(after)},
	})
}

func withDetails(code codes.Code, message string, details []protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		panic(err) // the code is OK: the test is wrong
	}
	return s.Err()
}
