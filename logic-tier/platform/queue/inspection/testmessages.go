package inspection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// testModule is who declares the topology of test messages.
const testModule = "test"

// testType is their type.
const testType = "test.message"

// testLimit is how often a test message is delivered at most: few enough that one
// sees it die within seconds.
const testLimit = 5

// Exchanges and queues for test messages, one exchange of each type.
const (
	testDirect, testTopic, testFanout, testHeaders = "test.direct", "test.topic", "test.fanout", "test.headers"

	testBlue, testGreen, testEveryProcess = "test.blue", "test.green", "test.every-process"
)

// Topology is what test messages need: each type of exchange leads to some of the
// same queues, so that one sees what makes the difference.
func Topology() queue.Topology {
	return queue.Topology{
		Module: testModule, Role: "queue", Publishes: []string{testDirect, testTopic, testFanout, testHeaders},
		Bodies: map[string]proto.Message{testType: &queuepb.TestMessage{}},
		Exchanges: []queue.Exchange{
			{Name: testDirect, Type: queue.Direct}, {Name: testTopic, Type: queue.Topic},
			{Name: testFanout, Type: queue.Fanout}, {Name: testHeaders, Type: queue.Headers},
		},
		Queues: []queue.Queue{
			{Name: testBlue, DeliveryLimit: testLimit, Bindings: []queue.Binding{
				{Exchange: testDirect, Pattern: "blue"},
				{Exchange: testTopic, Pattern: "colour.blue.#"},
				{Exchange: testFanout},
				{Exchange: testHeaders, Headers: map[string]string{"colour": "blue", "size": "large"}},
			}},
			{Name: testGreen, DeliveryLimit: testLimit, Bindings: []queue.Binding{
				{Exchange: testDirect, Pattern: "green"},
				{Exchange: testTopic, Pattern: "colour.*.large"},
				{Exchange: testFanout},
				{Exchange: testHeaders, Headers: map[string]string{"colour": "green", "size": "large"}, AnyHeader: true},
			}},
			{Name: testEveryProcess, DeliveryLimit: testLimit, Exclusive: true, Bindings: []queue.Binding{{Exchange: testFanout}}},
		},
	}
}

// Consumers note that they got a test message, and do with it what it says.
func (s *Service) Consumers() (all []queue.Consumer) {
	for _, q := range Topology().Queues {
		all = append(all, queue.Consumer{Queue: q.Name, Concurrency: 1, Prefetch: 10, Handle: queue.Idempotent(s.tested)})
	}
	return all
}

var (
	errAsked  = errors.New("the test message asks for deliveries that fail")
	errReject = errors.New("the test message asks to be rejected")
)

// Outcomes of a delivery of a test message.
const (
	acknowledged = "acknowledged"
	failed       = "failed"
	rejected     = "rejected"
)

func (s *Service) tested(ctx context.Context, d queue.Delivery, asked *queuepb.TestMessage) error {
	outcome, err := acknowledged, error(nil)
	switch {
	case asked.Reject:
		outcome, err = rejected, queue.Reject(errReject)
	case d.Count <= int(asked.FailingDeliveries):
		outcome, err = failed, errAsked
	}
	if noted := s.store.addDelivery(ctx, d, s.needs.Registry.Host, s.needs.Registry.Process, outcome); noted != nil {
		return noted
	}
	return err
}

// SendTestMessage publishes a test message; see the contract.
func (s *Service) SendTestMessage(ctx context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	var known []string
	for _, e := range Topology().Exchanges {
		known = append(known, e.Name)
	}
	if !slices.Contains(known, r.Exchange) {
		return nil, apperror.New(apperror.NotFound, "EXCHANGE_NOT_FOUND", fmt.Sprintf("there is no test exchange %q: use %s", r.Exchange, strings.Join(known, ", ")))
	}
	var id int64
	err := s.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) (err error) {
		id, err = s.needs.Broker.Publish(ctx, tx, queue.Message{
			Exchange: r.Exchange, RoutingKey: r.RoutingKey, Headers: r.Headers, Type: testType, Priority: int(r.Priority), Delay: r.Delay.AsDuration(),
			Body: &queuepb.TestMessage{Text: r.Text, FailingDeliveries: r.FailingDeliveries, Reject: r.Reject},
		})
		if err != nil {
			return err
		}
		request, err := proto.Marshal(r)
		if err != nil {
			return err
		}
		return s.store.addTest(ctx, tx, id, request)
	})
	if err != nil {
		return nil, err
	}
	return &queuepb.SendTestMessageResponse{Id: id}, nil
}

var errNoTest = apperror.New(apperror.NotFound, "TEST_MESSAGE_NOT_FOUND", "this test message is not there: they are kept for an hour; send another")

// GetTestMessage says what became of a test message; see the contract.
func (s *Service) GetTestMessage(ctx context.Context, r *queuepb.GetTestMessageRequest) (*queuepb.GetTestMessageResponse, error) {
	t, err := s.store.test(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	sent := &queuepb.SendTestMessageRequest{}
	if err := proto.Unmarshal(t.request, sent); err != nil {
		return nil, err
	}
	deliveries, err := s.store.deliveries(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	response := &queuepb.GetTestMessageResponse{
		Message: sent, SendTime: timestamppb.New(t.sent), MatchingBindings: s.topology.matching(sent.Exchange, sent.RoutingKey, sent.Headers),
	}
	for _, d := range deliveries {
		response.Deliveries = append(response.Deliveries, &queuepb.TestDelivery{
			Queue: d.queue, DeliveryCount: int32(d.count), Host: d.host, Process: d.process, Outcome: d.outcome, Time: timestamppb.New(d.at),
		})
	}
	return response, nil
}

const (
	// testLife is how long a test message is kept, and maxTests how many are.
	testLife, maxTests = time.Hour, 1000
	sweepEvery         = 5 * time.Minute
	sweepTimeout       = 10 * time.Second
)

// sweepTests removes old test messages until ctx ends.
func (s *Service) sweepTests(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
		sweeping, done := context.WithTimeout(ctx, sweepTimeout)
		if err := s.store.sweepTests(sweeping); err != nil && ctx.Err() == nil {
			s.needs.Log.Warn("queue: old test messages were not removed; trying again later", "error", err)
		}
		done()
	}
}
