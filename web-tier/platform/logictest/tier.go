// Package logictest provides a fake logic tier for tests of pages. Tests reach it over an
// in-memory gRPC connection and through the web tier's own interceptors, so that they cover
// deadlines, metadata and error mapping.
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

// Session and OperatorSession are the valid session tokens. Like the logic tier, the fake
// rejects calls with any other token, for every method.
const (
	Session         = "session-of-ada"
	OperatorSession = "session-of-olga"
)

// Ada is the account of Session. Olga, an operator, is the account of OperatorSession.
var (
	Ada = &accountspb.Account{
		Name: "accounts/ada", Id: 1, Handle: "ada", DisplayName: "Ada", CreateTime: timestamppb.New(time.Unix(1_700_000_000, 0)),
	}
	Olga = &accountspb.Account{
		Name: "accounts/olga", Id: 2, Handle: "olga", DisplayName: "Olga", CreateTime: timestamppb.New(time.Unix(1_700_000_000, 0)), Operator: true,
	}
)

// Unread and Cursor are the unread count and the cursor of every account's inbox.
const (
	Unread = 2
	Cursor = "epoch-5"
)

// Call is a recorded call.
type Call struct {
	Method, Session, Address string
	Request                  proto.Message
	HasDeadline, HasTrace    bool
}

// Tier is a fake logic tier.
type Tier struct {
	// Logic is the web tier's client of the fake.
	Logic *logicclient.Tier

	mu             sync.Mutex
	handlers       map[string]unaryHandler
	streamHandlers map[string]func(grpc.ServerStream) error
	calls          []Call
	extraSessions  map[string]bool
}

type unaryHandler func(ctx context.Context, decode func(any) error) (request, response proto.Message, err error)

// New returns a fake that serves GetCurrentAccount and GetInbox. Register handlers for other
// methods with Answer. The fake stops when the test ends.
func New(t *testing.T) *Tier {
	t.Helper()
	tier := &Tier{handlers: map[string]unaryHandler{}, streamHandlers: map[string]func(grpc.ServerStream) error{}}
	Answer(tier, accountspb.Accounts_GetCurrentAccount_FullMethodName,
		func(ctx context.Context, _ *accountspb.GetCurrentAccountRequest) (*accountspb.GetCurrentAccountResponse, error) {
			if metadataValue(ctx, transport.SessionKey) == OperatorSession {
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
	client, err := logicclient.Dial("passthrough:///fake", insecure.NewCredentials(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	tier.Logic = client
	return tier
}

// Answer registers the handler of a unary method, replacing any previous one.
func Answer[Q, R any, PQ interface {
	*Q
	proto.Message
}, PR interface {
	*R
	proto.Message
}](t *Tier, method string, handle func(context.Context, PQ) (PR, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers[method] = func(ctx context.Context, decode func(any) error) (proto.Message, proto.Message, error) {
		request := PQ(new(Q))
		if err := decode(request); err != nil {
			return nil, nil, err
		}
		response, err := handle(ctx, request)
		return request, response, err
	}
}

// Stream registers the handler of a streaming method, replacing any previous one.
func (t *Tier) Stream(method string, handle func(grpc.ServerStream) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streamHandlers[method] = handle
}

// AddSessions sets the session tokens that are valid besides Session and OperatorSession.
func AddSessions(t *Tier, sessions ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extraSessions = map[string]bool{}
	for _, session := range sessions {
		t.extraSessions[session] = true
	}
}

// Calls returns the recorded calls of method, or of all methods if method is empty.
func (t *Tier) Calls(method string) []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	var matching []Call
	for _, c := range t.calls {
		if method == "" || c.Method == method {
			matching = append(matching, c)
		}
	}
	return matching
}

func (t *Tier) serve(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	method, _ := grpc.MethodFromServerStream(stream)
	call := Call{Method: method, Session: metadataValue(ctx, transport.SessionKey), Address: metadataValue(ctx, transport.ClientAddressKey)}
	_, call.HasDeadline = ctx.Deadline()
	_, call.HasTrace = transport.ParseTrace(metadataValue(ctx, transport.TraceparentKey))
	stream.SetTrailer(transport.Timing{LogicHost: "logic-host", DataHost: "data-host", Logic: 3 * time.Millisecond, Data: time.Millisecond}.Trailer())
	t.mu.Lock()
	handle, handleStream := t.handlers[method], t.streamHandlers[method]
	t.mu.Unlock()

	var response proto.Message
	err := t.authorize(call)
	switch {
	case err != nil:
	case handleStream != nil:
		return handleStream(stream)
	case handle == nil:
		err = status.Errorf(codes.Unimplemented, "the test registered no handler for %s", method)
	default:
		call.Request, response, err = handle(ctx, stream.RecvMsg)
	}
	t.mu.Lock()
	t.calls = append(t.calls, call)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return stream.SendMsg(response)
}

// authorize returns an error if the call's session does not satisfy the method's access rule.
func (t *Tier) authorize(call Call) error {
	t.mu.Lock()
	known := call.Session == Session || call.Session == OperatorSession || t.extraSessions[call.Session]
	t.mu.Unlock()
	required := requiredPerson(call.Method)
	switch {
	case call.Session != "" && !known:
		return Refusal(codes.Unauthenticated, "SESSION_INVALID", "the session is not valid any more; sign in again")
	case call.Session == "" && (required == accesspb.Person_PERSON_SIGNED_IN || required == accesspb.Person_PERSON_OPERATOR):
		return Refusal(codes.Unauthenticated, "SESSION_REQUIRED", "sign in")
	case call.Session != OperatorSession && required == accesspb.Person_PERSON_OPERATOR:
		return Refusal(codes.PermissionDenied, "OPERATOR_REQUIRED", "only an operator may do this")
	}
	return nil
}

// requiredPerson returns the person that the method's access rule requires.
func requiredPerson(method string) accesspb.Person {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return accesspb.Person_PERSON_UNSPECIFIED
	}
	rule, _ := proto.GetExtension(descriptor.Options(), accesspb.E_Rule).(*accesspb.Rule)
	return rule.GetPerson()
}

// metadataValue returns the value of key in the call's metadata, or "" unless there is exactly
// one.
func metadataValue(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}

// Refusal returns an error like those of the logic tier: with ErrorInfo and, for each pair of
// field and description in violations, a field violation.
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

// RefusalRetry returns an error with RetryInfo.
func RefusalRetry(code codes.Code, reason, message string, retryDelay time.Duration) error {
	return withDetails(code, message, []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: reason, Domain: "techtalks.example"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)},
	})
}

func withDetails(code codes.Code, message string, details []protoadapt.MessageV1) error {
	s, err := status.New(code, message).WithDetails(details...)
	if err != nil {
		panic(err) // code is OK, a bug in the test
	}
	return s.Err()
}
