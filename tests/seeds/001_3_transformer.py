# The text names these without showing code.
import facula as torch
import facula.nn as nn

torch.manual_seed(0)

layer = nn.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=16, dropout=0.0)
print(layer)
x = torch.randn(3, 2, 8)
print(layer(x)[0])
encoder = nn.TransformerEncoder(
    nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), num_layers=2
)
print(encoder.train()(x).shape)
decoder = nn.TransformerDecoder(
    nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True), num_layers=2
)
print(decoder(x, encoder(x)).detach()[0, 0])
model = nn.Transformer(8, 2, 1, 1, 16, 0.0)
print(model(x, x).detach()[0, 0])
print(sum(p.numel() for p in model.parameters()))
