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

// running is the whole logic tier, as "logic-tier serve" runs it.
type running struct {
	t        *testing.T
	database *postgrestest.Database
	settings settings
	log      *record
}

// record is what the tier logs, a JSON object a line.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

func (r *record) lines() (all []map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		var one map[string]any
		if json.Unmarshal([]byte(line), &one) == nil {
			all = append(all, one)
		}
	}
	return all
}

// one returns the first line with the message.
func (r *record) one(message string) map[string]any {
	for _, line := range r.lines() {
		if line["msg"] == message {
			return line
		}
	}
	return nil
}

func newRunning(t *testing.T) *running {
	t.Helper()
	return newRunningWith(t, func(*settings) {})
}

// newRunningWith runs a tier with other settings.
func newRunningWith(t *testing.T, change func(*settings)) *running {
	t.Helper()
	r := &running{t: t, database: postgrestest.NewInstalled(t), log: &record{}}
	at := r.database.Options("")
	r.settings = settings{listenAddress: "127.0.0.1:0", adminAddress: "127.0.0.1:0", dataAddress: at.Address, certificates: at.Certificates, scratch: t.TempDir(), work: true}
	change(&r.settings)
	r.serve()
	return r
}

// serve runs the tier until the test ends, and waits until it is ready.
func (r *running) serve() {
	r.t.Helper()
	r.begin()
	r.until("the tier to be ready", func() bool { return health(r.t.Context(), r.settings.adminAddress) == nil })
}

// begin runs the tier until the test ends.
func (r *running) begin() {
	r.t.Helper()
	t := r.t
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- newApp(r.settings, slog.New(slog.NewJSONHandler(r.log, nil))).serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the tier ended with %v", err)
		}
	})
	r.until("the tier to serve", func() bool { return r.log.one("serving") != nil })
	r.settings.listenAddress = r.log.one("serving")["address"].(string)
	r.settings.adminAddress = r.log.one("serving")["admin"].(string)
}

func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

// as connects with a program's certificate.
func (r *running) as(program string) *grpc.ClientConn {
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

func (r *running) context() context.Context {
	ctx, done := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(done)
	return ctx
}

// signedUp returns a context for the calls of a new account.
func (r *running) signedUp(connection grpc.ClientConnInterface, handle string) context.Context {
	r.t.Helper()
	answer, err := accountspb.NewAccountsClient(connection).SignUp(r.context(), &accountspb.SignUpRequest{Handle: handle, DisplayName: handle, Password: "password of " + handle})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.session(answer.Session.Token)
}

// session returns a context for the calls of a session.
func (r *running) session(token string) context.Context {
	return metadata.AppendToOutgoingContext(r.context(), transport.SessionKey, token)
}

// channel makes a channel.
func (r *running) channel(ctx context.Context, connection grpc.ClientConnInterface, id string) {
	r.t.Helper()
	if _, err := talkspb.NewChannelsClient(connection).CreateChannel(ctx, &talkspb.CreateChannelRequest{ChannelId: id, Title: "Channel " + id}); err != nil {
		r.t.Fatal(err)
	}
}

// methods is every method of the contract with who may call it.
func methods() map[string]*accesspb.Rule {
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

func TestAProgramMayCallWhatTheContractSays(t *testing.T) {
	r := newRunning(t)
	// Some that must never be the web tier's, whatever the contract comes to say.
	for _, method := range []string{
		"/techtalks.operations.v1.OperationWork/FinishOperation",
		"/techtalks.media.v1.Media/ProcessRecording",
		"/techtalks.talks.v1.Talks/BatchImportTalks",
		"/techtalks.following.v1.Following/ListFollowers",
		"/techtalks.accounts.v1.Accounts/VerifySession",
	} {
		if rule, there := methods()[method]; !there || slices.Contains(rule.Programs, accesspb.Program_PROGRAM_WEB_TIER) {
			t.Errorf("%s is open to the web tier", method)
		}
	}
	for name, program := range map[string]accesspb.Program{transport.WebTier: accesspb.Program_PROGRAM_WEB_TIER, transport.Operator: accesspb.Program_PROGRAM_OPERATOR} {
		connection := r.as(name)
		for method, rule := range methods() {
			// A stream that is let in stays open.
			ctx, done := context.WithTimeout(r.context(), time.Second)
			// Empty requests: most are refused, but by whom?
			err := invoke(ctx, connection, method)
			done()
			denied := reason(err) == "PROGRAM_DENIED"
			if may := slices.Contains(rule.GetPrograms(), program); denied == may {
				t.Errorf("%s calls %s: %v; may it: %t", name, method, err, may)
			}
		}
	}
	// A tier's certificate that no method names calls nothing.
	for method := range methods() {
		if err := invoke(r.context(), r.as("data-tier"), method); reason(err) != "PROGRAM_DENIED" {
			t.Errorf("the data tier calls %s: %v", method, err)
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

// reason is the reason in the ErrorInfo of a status.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func TestWhoHasNoCertificateIsNotConnected(t *testing.T) {
	r := newRunning(t)
	connection, err := tls.Dial("tcp", r.settings.listenAddress, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err == nil {
		defer connection.Close()
		if err = connection.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		// With TLS 1.3 the refusal comes after the client's side of the handshake.
		for err == nil {
			_, err = connection.Read(make([]byte, 100))
		}
	}
	if !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("got %v, want to be told that a certificate is required", err)
	}
}

func TestReflectionListsWhatTheTierServes(t *testing.T) {
	r := newRunning(t)
	stream, err := reflectionpb.NewServerReflectionClient(r.as(transport.Operator)).ServerReflectionInfo(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		listed = append(listed, service.Name)
	}
	for method := range methods() {
		service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		if !slices.Contains(listed, service) {
			t.Errorf("%s is not listed among %v", service, listed)
		}
	}
}

func TestHealthIsTheDatabases(t *testing.T) {
	r := newRunning(t)
	client := grpc_health_v1.NewHealthClient(r.as(transport.Operator))
	is := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) func() bool {
		return func() bool {
			answer, err := client.Check(r.context(), &grpc_health_v1.HealthCheckRequest{Service: "techtalks.talks.v1.Talks"})
			return err == nil && answer.Status == want && (health(t.Context(), r.settings.adminAddress) == nil) == (want == grpc_health_v1.HealthCheckResponse_SERVING)
		}
	}
	r.until("serving", is(grpc_health_v1.HealthCheckResponse_SERVING))
	inside := r.database.Superuser()
	for _, statement := range []string{
		`alter database techtalks connection limit 0`,
		`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename <> 'postgres'`,
	} {
		if _, err := inside.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	r.until("not serving", is(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
	if err := health(t.Context(), r.settings.adminAddress); err == nil || !strings.Contains(err.Error(), "--data-address") {
		t.Errorf("health says %v; want it to name the setting", err)
	}
	_, err := talkspb.NewTalksClient(r.as(transport.Operator)).ListTalks(r.context(), &talkspb.ListTalksRequest{})
	if status.Code(err) != codes.Unavailable || retryDelay(err) == 0 {
		t.Errorf("a call meanwhile: %v; want UNAVAILABLE with RetryInfo", err)
	}
	if _, err := inside.Exec(`alter database techtalks connection limit -1`); err != nil {
		t.Fatal(err)
	}
	r.until("serving again", is(grpc_health_v1.HealthCheckResponse_SERVING))
}

func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestInvalidFieldsAreNamedOneByOne(t *testing.T) {
	r := newRunning(t)
	_, err := accountspb.NewAccountsClient(r.as(transport.WebTier)).SignUp(r.context(), &accountspb.SignUpRequest{Handle: "No Such!", DisplayName: "", Password: "short"})
	if status.Code(err) != codes.InvalidArgument {
		t.Fatal(err)
	}
	var fields []string
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				if v.Description == "" {
					t.Errorf("%s is refused without a word", v.Field)
				}
				fields = append(fields, v.Field)
			}
		}
	}
	for _, field := range []string{"handle", "password"} {
		if !slices.Contains(fields, field) {
			t.Errorf("%s is not among the fields refused: %v", field, fields)
		}
	}
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }
func (raw) Name() string                  { return "proto" }
func (r *running) sendRaw(b []byte) error {
	return r.as(transport.WebTier).Invoke(r.context(), talkspb.Talks_ListTalks_FullMethodName, b, new([]byte), grpc.ForceCodec(raw{}))
}

func TestBytesThatAreNoMessageAreAnInvalidArgument(t *testing.T) {
	r := newRunning(t)
	for what, b := range map[string][]byte{
		"invalid UTF-8":      {0x0a, 0x02, 0xff, 0xfe},
		"a field cut short":  {0x0a, 0x7f, 'a'},
		"no protobuf at all": []byte("GET / HTTP/1.1"),
	} {
		if err := r.sendRaw(b); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s: %v, want INVALID_ARGUMENT that says what to do", what, err)
		}
	}
	if err := r.sendRaw(bytes.Repeat([]byte{0x0a, 0x00}, 5<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("10 MB: %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestWhatIsAskedTooLateIsNotStarted(t *testing.T) {
	r := newRunning(t)
	connection := r.as(transport.Operator)
	if err := invoke(r.context(), connection, "/grpc.health.v1.Health/Check"); err != nil {
		t.Fatal(err) // it is connected now
	}
	ctx, done := context.WithTimeout(r.context(), 3*time.Millisecond)
	defer done()
	_, err := talkspb.NewTalksClient(connection).ListTalks(ctx, &talkspb.ListTalksRequest{})
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

// Whoever goes away takes the query along.
func TestACallerThatGoesAwayCancelsTheQuery(t *testing.T) {
	r := newRunning(t)
	inside := r.database.Superuser()
	lock, err := inside.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	if _, err := lock.Exec(`lock table talks.channel`); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		if err := inside.QueryRow(`select count(*) from pg_stat_activity where usename = 'talks' and state = 'active' and wait_event_type = 'Lock'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, goAway := context.WithCancel(r.context())
	answered := make(chan error, 1)
	go func() {
		_, err := talkspb.NewChannelsClient(r.as(transport.WebTier)).GetChannel(ctx, &talkspb.GetChannelRequest{Name: "channels/any"})
		answered <- err
	}()
	r.until("the query", func() bool { return waiting() == 1 })
	goAway()
	if err := <-answered; status.Code(err) != codes.Canceled {
		t.Errorf("the call ended with %v", err)
	}
	r.until("the end of the query, with the table still locked", func() bool { return waiting() == 0 })
}

func TestACallIsOneLogLineWithTheCallersTrace(t *testing.T) {
	r := newRunning(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(r.context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	var trailer metadata.MD
	if _, err := talkspb.NewTalksClient(r.as(transport.WebTier)).ListTalks(ctx, &talkspb.ListTalksRequest{}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for _, line := range r.log.lines() {
		if line["trace"] == trace {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || lines[0]["method"] != talkspb.Talks_ListTalks_FullMethodName || lines[0]["code"] != "OK" {
		t.Errorf("the trace is in %v; want one line of the call", lines)
	}
	timing, there := transport.TimingFromTrailer(trailer)
	if !there || timing.LogicHost == "" || timing.DataHost == "" || timing.Data <= 0 || timing.Data > timing.Logic {
		t.Errorf("the trailer says %+v", timing)
	}
}

func TestMetricsCountCalls(t *testing.T) {
	r := newRunning(t)
	if _, err := talkspb.NewTalksClient(r.as(transport.WebTier)).ListTalks(r.context(), &talkspb.ListTalksRequest{}); err != nil {
		t.Fatal(err)
	}
	if text := r.metrics(); !strings.Contains(text, `code="OK",method="/techtalks.talks.v1.Talks/ListTalks"} 1`) {
		t.Errorf("no count of the call in %d bytes of metrics", len(text))
	}
}

// metrics is what the tier tells Prometheus.
func (r *running) metrics() string {
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

// A follower hears of a talk at once; who publishes never waits for that.
func TestAPublishedTalkReachesAFollower(t *testing.T) {
	r := newRunning(t)
	web := r.as(transport.WebTier)
	ada, grace := r.signedUp(web, "ada"), r.signedUp(web, "grace")
	r.channel(ada, web, "engines")
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
	hear := func() *notificationspb.StreamNotificationsResponse {
		t.Helper()
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	for hear().GetSubscribed().GetSubscription() != 7 {
	}
	// Nobody gets past the inboxes: the fan-out stands, publishing does not.
	inside := r.database.Superuser()
	lock, err := inside.Begin()
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
		if arrived := hear().GetArrived(); arrived != nil {
			if arrived.Notification.Talk != published.Talk.Name || !slices.Equal(arrived.Subscriptions, []uint64{7}) {
				t.Errorf("heard %v, want %s", arrived, published.Talk.Name)
			}
			break
		}
	}
}

func TestASettingThatIsWrongIsNamed(t *testing.T) {
	certificates := postgrestest.NewInstalled(t).Options("").Certificates
	quiet := slog.New(slog.DiscardHandler)
	for what, c := range map[string]struct {
		arguments []string
		says      string
	}{
		"nothing to do":        {nil, "usage: logic-tier serve"},
		"an unknown command":   {[]string{"swim"}, `"swim" is nothing it can do`},
		"no certificates":      {[]string{"serve", "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--certificates", t.TempDir()}, "--certificates"},
		"an address elsewhere": {[]string{"serve", "--certificates", certificates, "--admin-address", "127.0.0.1:0", "--listen-address", "192.0.2.1:9090"}, "--listen-address (LISTEN_ADDRESS) 192.0.2.1:9090"},
		"an address of words":  {[]string{"serve", "--certificates", certificates, "--listen-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0", "--data-address", "nowhere"}, `"nowhere"`},
		"a queue that is none": {[]string{"work", "--certificates", certificates, "--admin-address", "127.0.0.1:0", "--queues", "media.recording,media.recordings"},
			`no queue "media.recordings"; there are:`},
		"health of nobody": {[]string{"health", "--admin-address", "nowhere"}, "use host:port"},
	} {
		if err := Run(t.Context(), c.arguments, quiet); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q", what, err, c.says)
		}
	}
}
