import type { NestExpressApplication } from '@nestjs/platform-express';
import { WsAdapter } from '@nestjs/platform-ws';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** Configures what is not part of a module. Call it before the app listens. */
export function setUp(app: NestExpressApplication): void {
  // The addresses of the trusted proxies, or Express's names for them. With `true`, clients could forge their address.
  app.set('trust proxy', process.env.TRUST_PROXY || false);
  app.useWebSocketAdapter(new WsAdapter(app));
  const description = new DocumentBuilder().setTitle('The sample app of nest-rate-limit').build();
  SwaggerModule.setup('openapi', app, () => SwaggerModule.createDocument(app, description), {
    ui: false,
    raw: ['json'],
    jsonDocumentUrl: 'openapi.json',
  });
}
