package main

import (
	"context"
	"fmt"
	"os"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/proto/transport"
)

// importCatalogue uploads a catalogue and starts its import. Unless detach is set, it
// follows the import and prints the rejected files and the result.
func importCatalogue(ctx context.Context, c *client, name string, detach bool) error {
	d := newDisplay(os.Stdout)
	defer d.endBar()
	source, err := openCatalogue(name, d.skipped)
	if err != nil {
		return err
	}
	upload, err := uploadCatalogue(ctx, c, source, func(done int64) { d.progress("uploading", done, source.total, source.unit) })
	if err != nil {
		return err
	}
	d.endBar()
	operation, err := call(ctx, c.transfers.ImportCatalogue, &transferspb.ImportCatalogueRequest{Upload: upload, RequestId: transport.NewRequestID()})
	if err != nil {
		return readable(err)
	}
	fmt.Println(operation.Name)
	if detach {
		return nil
	}
	return followAndReport(ctx, c, operation.Name, d)
}
