package transfers

import (
	"errors"
	"io"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

type service struct {
	transferspb.UnimplementedTransfersServer
	module *Module
}

// maxUnreported bounds the rejections that are held until the next report.
const maxUnreported = 100

// ImportCatalogue takes a catalogue, a file a message; see the contract.
func (s service) ImportCatalogue(stream transferspb.Transfers_ImportCatalogueServer) error {
	c := newCatalogue(s.module.needs)
	for {
		file, err := stream.Recv()
		end := errors.Is(err, io.EOF)
		switch {
		case end:
		case err != nil:
			return err
		default:
			if err := c.take(stream.Context(), file.Path, file.Content); err != nil {
				return err
			}
		}
		kept := end || c.full()
		if kept {
			if err := c.keep(stream.Context()); err != nil {
				return err
			}
		}
		if kept || len(c.rejections) >= maxUnreported {
			if err := stream.Send(c.report()); err != nil || end {
				return err
			}
		}
	}
}
