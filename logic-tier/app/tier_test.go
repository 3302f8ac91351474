package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	accesspb "techtalks.example/proto/techtalks/access/v1"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// testTier is a logic tier as "logic-tier serve" runs it.
type testTier struct {
	t        *testing.T
	database *postgrestest.Database
	settings settings
	log      *logRecorder
}

// logRecorder records the tier's log, one JSON object per line.
type logRecorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *logRecorder) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

func (r *logRecorder) lines() (all []map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		var attributes map[string]any
		if json.Unmarshal([]byte(line), &attributes) == nil {
			all = append(all, attributes)
		}
	}
	return all
}

// find returns the first line with the message, or nil.
func (r *logRecorder) find(message string) map[string]any {
	for _, line := range r.lines() {
		if line["msg"] == message {
			return line
		}
	}
	return nil
}

func startTier(t *testing.T) *testTier {
	t.Helper()
	return startTierWith(t, func(*settings) {})
}

// startTierWith starts a tier with changed settings, and waits until it is ready.
func startTierWith(t *testing.T, change func(*settings)) *testTier {
	t.Helper()
	r := &testTier{t: t, database: postgrestest.NewInstalled(t), log: &logRecorder{}}
	options := r.database.Options("")
	r.settings = settings{listenAddress: "127.0.0.1:0", adminAddress: "127.0.0.1:0", dataAddress: options.Address, certificates: options.Certificates, scratch: t.TempDir(), work: true}
	change(&r.settings)
	r.serve()
	return r
}

// serve starts the tier and waits until it is ready.
func (r *testTier) serve() {
	r.t.Helper()
	r.start()
	r.waitFor("the tier to be ready", func() bool { return health(r.t.Context(), r.settings.adminAddress) == nil })
}

// start starts the tier, which runs until the test ends.
func (r *testTier) start() {
	r.t.Helper()
	t := r.t
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- newProcess(r.settings, slog.New(slog.NewJSONHandler(r.log, nil))).serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Errorf("run logic tier: %v", err)
		}
	})
	r.waitFor("the tier to serve", func() bool { return r.log.find("serving") != nil })
	r.settings.listenAddress = r.log.find("serving")["address"].(string)
	r.settings.adminAddress = r.log.find("serving")["admin"].(string)
}

func (r *testTier) waitFor(what string, condition func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("timed out after %s waiting for %s", patience, what)
		}
	}
}

// connect connects with a program's certificate.
func (r *testTier) connect(program string) *grpc.ClientConn {
	r.t.Helper()
	credentials, err := transport.ClientCredentials(r.settings.certificates, program, transport.LogicTier)
	if err != nil {
		r.t.Fatal(err)
	}
	connection, err := grpc.NewClient(r.settings.listenAddress, grpc.WithTransportCredentials(credentials))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func (r *testTier) context() context.Context {
	ctx, done := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(done)
	return ctx
}

// signUp signs up an account and returns a context with its session.
func (r *testTier) signUp(connection grpc.ClientConnInterface, handle string) context.Context {
	r.t.Helper()
	response, err := accountspb.NewAccountsClient(connection).SignUp(r.context(), &accountspb.SignUpRequest{Handle: handle, DisplayName: handle, Password: "password of " + handle})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.withSession(response.Session.Token)
}

// withSession returns a context that sends a session token.
func (r *testTier) withSession(token string) context.Context {
	return metadata.AppendToOutgoingContext(r.context(), transport.SessionKey, token)
}

// createChannel creates a channel.
func (r *testTier) createChannel(ctx context.Context, connection grpc.ClientConnInterface, id string) {
	r.t.Helper()
	if _, err := talkspb.NewChannelsClient(connection).CreateChannel(ctx, &talkspb.CreateChannelRequest{ChannelId: id, Title: "Channel " + id}); err != nil {
		r.t.Fatal(err)
	}
}

// accessRules returns the access rule of every method in the contract.
func accessRules() map[string]*accesspb.Rule {
	all := map[string]*accesspb.Rule{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "techtalks.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for k := range service.Methods().Len() {
				method := service.Methods().Get(k)
				rule, _ := proto.GetExtension(method.Options(), accesspb.E_Rule).(*accesspb.Rule)
				all[fmt.Sprintf("/%s/%s", service.FullName(), method.Name())] = rule
			}
		}
		return true
	})
	return all
}

func TestProgramsCallOnlyMethodsTheContractAllows(t *testing.T) {
	r := startTier(t)
	// The contract must never open these methods to the web tier.
	for _, method := range []string{
		"/techtalks.operations.v1.OperationWork/FinishOperation",
		"/techtalks.media.v1.Media/ProcessRecording",
		"/techtalks.talks.v1.Talks/BatchImportTalks",
		"/techtalks.following.v1.Following/ListFollowers",
		"/techtalks.accounts.v1.Accounts/VerifySession",
	} {
		if rule, ok := accessRules()[method]; !ok || slices.Contains(rule.Programs, accesspb.Program_PROGRAM_WEB_TIER) {
			t.Errorf("%s is open to the web tier", method)
		}
	}
	for name, program := range map[string]accesspb.Program{transport.WebTier: accesspb.Program_PROGRAM_WEB_TIER, transport.Operator: accesspb.Program_PROGRAM_OPERATOR} {
		connection := r.connect(name)
		for method, rule := range accessRules() {
			// The timeout closes streams, which stay open once admitted.
			ctx, cancel := context.WithTimeout(r.context(), time.Second)
			// Most methods reject the empty request, but not with PROGRAM_DENIED.
			err := invoke(ctx, connection, method)
			cancel()
			denied := reason(err) == "PROGRAM_DENIED"
			if allowed := slices.Contains(rule.GetPrograms(), program); denied == allowed {
				t.Errorf("%s calls %s: got %v; allowed: %t", name, method, err, allowed)
			}
		}
	}
	// The data tier's certificate is valid, but no method allows it.
	for method := range accessRules() {
		if err := invoke(r.context(), r.connect("data-tier"), method); reason(err) != "PROGRAM_DENIED" {
			t.Errorf("data tier calls %s: got %v, want PROGRAM_DENIED", method, err)
		}
	}
}

// invoke calls a method with an empty request, streaming or not.
func invoke(ctx context.Context, connection *grpc.ClientConn, method string) error {
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// reason returns the reason in the status's ErrorInfo, or "".
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func TestClientWithoutCertificateIsRejected(t *testing.T) {
	r := startTier(t)
	connection, err := tls.Dial("tcp", r.settings.listenAddress, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err == nil {
		defer connection.Close()
		if err = connection.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		// With TLS 1.3 the server's alert follows the client's side of the handshake.
		for err == nil {
			_, err = connection.Read(make([]byte, 100))
		}
	}
	if !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("got %v, want certificate required", err)
	}
}

func TestReflectionListsServices(t *testing.T) {
	r := startTier(t)
	stream, err := reflectionpb.NewServerReflectionClient(r.connect(transport.Operator)).ServerReflectionInfo(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, service := range response.GetListServicesResponse().GetService() {
		listed = append(listed, service.Name)
	}
	for method := range accessRules() {
		service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		if !slices.Contains(listed, service) {
			t.Errorf("listed services: got %v, want %s", listed, service)
		}
	}
}

func TestHealthFollowsDatabase(t *testing.T) {
	r := startTier(t)
	client := grpc_health_v1.NewHealthClient(r.connect(transport.Operator))
	healthIs := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			response, err := client.Check(r.context(), &grpc_health_v1.HealthCheckRequest{Service: "techtalks.talks.v1.Talks"})
			return err == nil && response.Status == want && (health(t.Context(), r.settings.adminAddress) == nil) == (want == grpc_health_v1.HealthCheckResponse_SERVING)
		}
	}
	r.waitFor("serving", healthIs(grpc_health_v1.HealthCheckResponse_SERVING))
	superuser := r.database.Superuser()
	for _, statement := range []string{
		`alter database techtalks connection limit 0`,
		`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`,
	} {
		if _, err := superuser.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	r.waitFor("not serving", healthIs(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
	if err := health(t.Context(), r.settings.adminAddress); err == nil || !strings.Contains(err.Error(), "--data-address") {
		t.Errorf("health: got %v, want it to name --data-address", err)
	}
	_, err := talkspb.NewTalksClient(r.connect(transport.Operator)).ListTalks(r.context(), &talkspb.ListTalksRequest{})
	if status.Code(err) != codes.Unavailable || retryDelay(err) == 0 {
		t.Errorf("call without database: got %v, want UNAVAILABLE with RetryInfo", err)
	}
	if _, err := superuser.Exec(`alter database techtalks connection limit -1`); err != nil {
		t.Fatal(err)
	}
	r.waitFor("serving again", healthIs(grpc_health_v1.HealthCheckResponse_SERVING))
}

func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestInvalidRequestListsEachField(t *testing.T) {
	r := startTier(t)
	_, err := accountspb.NewAccountsClient(r.connect(transport.WebTier)).SignUp(r.context(), &accountspb.SignUpRequest{Handle: "No Such!", DisplayName: "", Password: "short"})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatal(err)
	}
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				if v.Description == "" {
					t.Errorf("violation of %s has no description", v.Field)
				}
				fields = append(fields, v.Field)
			}
		}
	}
	for _, field := range []string{"handle", "password"} {
		if !slices.Contains(fields, field) {
			t.Errorf("violations: got %v, want %s", fields, field)
		}
	}
}

// raw is a codec that sends bytes unchanged.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }
func (raw) Name() string                  { return "proto" }
func (r *testTier) sendRaw(b []byte) error {
	return r.connect(transport.WebTier).Invoke(r.context(), talkspb.Talks_ListTalks_FullMethodName, b, new([]byte), grpc.ForceCodec(raw{}))
}

func TestMalformedRequestIsInvalidArgument(t *testing.T) {
	r := startTier(t)
	for name, b := range map[string][]byte{
		"invalid UTF-8":   {0x0a, 0x02, 0xff, 0xfe},
		"truncated field": {0x0a, 0x7f, 'a'},
		"not protobuf":    []byte("GET / HTTP/1.1"),
	} {
		if err := r.sendRaw(b); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT with the fix", name, err)
		}
	}
	if err := r.sendRaw(bytes.Repeat([]byte{0x0a, 0x00}, 5<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("10 MB: got %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestCallWithShortDeadlineIsRejected(t *testing.T) {
	r := startTier(t)
	connection := r.connect(transport.Operator)
	if err := invoke(r.context(), connection, "/grpc.health.v1.Health/Check"); err != nil {
		t.Fatal(err)
	}
	// The connection is established now.
	ctx, cancel := context.WithTimeout(r.context(), 3*time.Millisecond)
	defer cancel()
	_, err := talkspb.NewTalksClient(connection).ListTalks(ctx, &talkspb.ListTalksRequest{})
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
		t.Errorf("got %v, want DEADLINE_EXCEEDED or UNAVAILABLE", err)
	}
}

func TestCanceledCallCancelsItsQuery(t *testing.T) {
	r := startTier(t)
	superuser := r.database.Superuser()
	lock, err := superuser.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`lock table talks.channel`); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		if err := superuser.QueryRow(`select count(*) from pg_stat_activity where usename = 'talks' and state = 'active' and wait_event_type = 'Lock'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, cancel := context.WithCancel(r.context())
	done := make(chan error, 1)
	go func() {
		_, err := talkspb.NewChannelsClient(r.connect(transport.WebTier)).GetChannel(ctx, &talkspb.GetChannelRequest{Name: "channels/any"})
		done <- err
	}()
	r.waitFor("the query to wait for the lock", func() bool { return waiting() == 1 })
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want CANCELED", err)
	}
	r.waitFor("the query to be cancelled while the table is locked", func() bool { return waiting() == 0 })
}

func TestCallLogsOneLineWithClientsTrace(t *testing.T) {
	r := startTier(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(r.context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	var trailer metadata.MD
	if _, err := talkspb.NewTalksClient(r.connect(transport.WebTier)).ListTalks(ctx, &talkspb.ListTalksRequest{}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for _, line := range r.log.lines() {
		if line["trace"] == trace {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || lines[0]["method"] != talkspb.Talks_ListTalks_FullMethodName || lines[0]["code"] != "OK" {
		t.Errorf("lines with the trace: got %v, want one line of the call", lines)
	}
	timing, ok := transport.TimingFromTrailer(trailer)
	if !ok || timing.LogicHost == "" || timing.DataHost == "" || timing.Data <= 0 || timing.Data > timing.Logic {
		t.Errorf("timing in the trailer: got %+v, want hosts and 0 < data <= logic", timing)
	}
}

func TestMetricsCountCalls(t *testing.T) {
	r := startTier(t)
	if _, err := talkspb.NewTalksClient(r.connect(transport.WebTier)).ListTalks(r.context(), &talkspb.ListTalksRequest{}); err != nil {
		t.Fatal(err)
	}
	if text := r.metrics(); !strings.Contains(text, `code="OK",method="/techtalks.talks.v1.Talks/ListTalks"} 1`) {
		t.Errorf("metrics (%d bytes) do not count the call", len(text))
	}
}

// metrics returns the response of the metrics endpoint.
func (r *testTier) metrics() string {
	r.t.Helper()
	response, err := http.Get("http://" + r.settings.adminAddress + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// A follower is notified of a talk at once. Publishing does not wait for the fan-out.
func TestPublishedTalkReachesFollower(t *testing.T) {
	r := startTier(t)
	web := r.connect(transport.WebTier)
	ada, grace := r.signUp(web, "ada"), r.signUp(web, "grace")
	r.createChannel(ada, web, "engines")
	if _, err := followingpb.NewFollowingClient(web).Follow(grace, &followingpb.FollowRequest{Channel: "channels/engines"}); err != nil {
		t.Fatal(err)
	}
	stream, err := notificationspb.NewNotificationsClient(web).StreamNotifications(grace)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
		Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: 7},
	}}); err != nil {
		t.Fatal(err)
	}
	receive := func() *notificationspb.StreamNotificationsResponse {
		t.Helper()
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	for receive().GetSubscribed().GetSubscription() != 7 {
	}
	// The lock blocks the fan-out, and must not block publishing.
	superuser := r.database.Superuser()
	lock, err := superuser.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`lock table notifications.inbox`); err != nil {
		t.Fatal(err)
	}
	published, err := talkspb.NewTalksClient(web).CreateTalk(ada, &talkspb.CreateTalkRequest{
		Parent: "channels/engines", Talk: &talkspb.Talk{Title: "On the Analytical Engine"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	for {
		if arrived := receive().GetArrived(); arrived != nil {
			if arrived.Notification.Talk != published.Talk.Name || !slices.Equal(arrived.Subscriptions, []uint64{7}) {
				t.Errorf("got notification %v, want one of %s for subscription 7", arrived, published.Talk.Name)
			}
			break
		}
	}
}

func TestRunNamesInvalidSetting(t *testing.T) {
	certificates := postgrestest.NewInstalled(t).Options("").Certificates
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		arguments []string
		want      string
	}{
		"no command":           {nil, "logic-tier serve [flags]"},
		"unknown command":      {[]string{"swim"}, `unknown command "swim"`},
		"no certificates":      {[]string{"serve", "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--certificates", t.TempDir()}, "--certificates"},
		"foreign address":      {[]string{"serve", "--certificates", certificates, "--admin-address", "127.0.0.1:0", "--listen-address", "192.0.2.1:9090"}, "--listen-address (LISTEN_ADDRESS) 192.0.2.1:9090"},
		"address without port": {[]string{"serve", "--certificates", certificates, "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--data-address", "nowhere"}, `"nowhere"`},
		"unknown queue": {[]string{"work", "--certificates", certificates, "--admin-address", "127.0.0.1:0", "--queues", "media.recording,media.recordings"},
			`no queue "media.recordings"; there are:`},
		"health without port": {[]string{"health", "--admin-address", "nowhere"}, "use host:port"},
	} {
		if err := Run(t.Context(), c.arguments, log); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
