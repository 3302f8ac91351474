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
	"techtalks.example/logic-tier/platform/sweep"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// testModule is the module of the topology for test messages.
const testModule = "test"

const testMessageType = "test.message"

// testDeliveryLimit is small, so that a failing test message is dead-lettered within
// seconds.
const testDeliveryLimit = 5

// Exchanges and queues for test messages, one exchange of each type.
const (
	testDirect, testTopic, testFanout, testHeaders = "test.direct", "test.topic", "test.fanout", "test.headers"

	testBlue, testGreen, testEveryProcess = "test.blue", "test.green", "test.every-process"
)

// Topology returns the topology for test messages. All exchanges are bound to the
// same few queues, which shows how the exchange types differ.
func Topology() queue.Topology {
	return queue.Topology{
		Module: testModule, Role: "queue", Publishes: []string{testDirect, testTopic, testFanout, testHeaders},
		Bodies: map[string]proto.Message{testMessageType: &queuepb.TestMessage{}},
		Exchanges: []queue.Exchange{
			{Name: testDirect, Type: queue.Direct}, {Name: testTopic, Type: queue.Topic},
			{Name: testFanout, Type: queue.Fanout}, {Name: testHeaders, Type: queue.Headers},
		},
		Queues: []queue.Queue{
			{Name: testBlue, DeliveryLimit: testDeliveryLimit, Bindings: []queue.Binding{
				{Exchange: testDirect, Pattern: "blue"},
				{Exchange: testTopic, Pattern: "colour.blue.#"},
				{Exchange: testFanout},
				{Exchange: testHeaders, Headers: map[string]string{"colour": "blue", "size": "large"}},
			}},
			{Name: testGreen, DeliveryLimit: testDeliveryLimit, Bindings: []queue.Binding{
				{Exchange: testDirect, Pattern: "green"},
				{Exchange: testTopic, Pattern: "colour.*.large"},
				{Exchange: testFanout},
				{Exchange: testHeaders, Headers: map[string]string{"colour": "green", "size": "large"}, AnyHeader: true},
			}},
			{Name: testEveryProcess, DeliveryLimit: testDeliveryLimit, Exclusive: true, Bindings: []queue.Binding{{Exchange: testFanout}}},
		},
	}
}

// Consumers returns the consumers of test messages. They record each delivery, and
// acknowledge, fail or reject it as the message requests.
func (s *Service) Consumers() (consumers []queue.Consumer) {
	for _, q := range Topology().Queues {
		consumers = append(consumers, queue.Consumer{Queue: q.Name, Concurrency: 1, Prefetch: 10, Handle: queue.Idempotent(s.handleTestMessage)})
	}
	return consumers
}

var (
	errFail   = errors.New("the test message asks for deliveries that fail")
	errReject = errors.New("the test message asks to be rejected")
)

// Outcomes of a delivery of a test message.
const (
	outcomeAcknowledged = "acknowledged"
	outcomeFailed       = "failed"
	outcomeRejected     = "rejected"
)

func (s *Service) handleTestMessage(ctx context.Context, d queue.Delivery, m *queuepb.TestMessage) error {
	outcome, result := outcomeAcknowledged, error(nil)
	switch {
	case m.Reject:
		outcome, result = outcomeRejected, queue.Reject(errReject)
	case d.Count <= int(m.FailingDeliveries):
		outcome, result = outcomeFailed, errFail
	}
	if err := s.store.addDelivery(ctx, d, s.deps.Registry.Host, s.deps.Registry.Process, outcome); err != nil {
		return err
	}
	return result
}

// SendTestMessage publishes a test message; see the contract.
func (s *Service) SendTestMessage(ctx context.Context, r *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
	var exchanges []string
	for _, e := range Topology().Exchanges {
		exchanges = append(exchanges, e.Name)
	}
	if !slices.Contains(exchanges, r.Exchange) {
		return nil, apperror.New(apperror.NotFound, "EXCHANGE_NOT_FOUND", fmt.Sprintf("no such test exchange %q: use %s", r.Exchange, strings.Join(exchanges, ", ")))
	}
	var id int64
	err := s.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) (err error) {
		id, err = s.deps.Broker.Publish(ctx, tx, queue.Message{
			Exchange: r.Exchange, RoutingKey: r.RoutingKey, Headers: r.Headers, Type: testMessageType, Priority: int(r.Priority), Delay: r.Delay.AsDuration(),
			Body: &queuepb.TestMessage{Text: r.Text, FailingDeliveries: r.FailingDeliveries, Reject: r.Reject},
		})
		if err != nil {
			return err
		}
		request, err := proto.Marshal(r)
		if err != nil {
			return err
		}
		return s.store.addTestMessage(ctx, tx, id, request)
	})
	if err != nil {
		return nil, err
	}
	return &queuepb.SendTestMessageResponse{Id: id}, nil
}

var errTestMessageNotFound = apperror.New(apperror.NotFound, "TEST_MESSAGE_NOT_FOUND", "no such test message: they are stored for an hour; send another")

// GetTestMessage returns a test message with its deliveries; see the contract.
func (s *Service) GetTestMessage(ctx context.Context, r *queuepb.GetTestMessageRequest) (*queuepb.GetTestMessageResponse, error) {
	stored, err := s.store.findTestMessage(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	request := &queuepb.SendTestMessageRequest{}
	if err := proto.Unmarshal(stored.request, request); err != nil {
		return nil, err
	}
	deliveries, err := s.store.deliveries(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	response := &queuepb.GetTestMessageResponse{
		Message: request, SendTime: timestamppb.New(stored.sent),
		MatchingBindings: s.topology.matchingBindings(request.Exchange, request.RoutingKey, request.Headers),
	}
	for _, d := range deliveries {
		response.Deliveries = append(response.Deliveries, &queuepb.TestDelivery{
			Queue: d.queue, DeliveryCount: int32(d.count), Host: d.host, Process: d.process, Outcome: d.outcome, Time: timestamppb.New(d.at),
		})
	}
	return response, nil
}

const (
	// Test messages are stored for testMessageLifetime, but no more than the latest
	// maxTestMessages.
	testMessageLifetime = time.Hour
	maxTestMessages     = 1000
)

// sweepTestMessages deletes old test messages until ctx ends.
func (s *Service) sweepTestMessages(ctx context.Context) error {
	return sweep.Loop{Name: "queue: old test messages", Interval: 5 * time.Minute, Timeout: 10 * time.Second, Log: s.deps.Log}.Run(ctx, s.store.sweepTestMessages)
}
